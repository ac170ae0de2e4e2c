"""Users in a directory, asked by LDAP: OpenLDAP, Active Directory and others."""
